#!/bin/sh
# Once in a new dev container, harmless to repeat: the JSON Schema of recipes, for completion in the editor.
set -eu

schema=/cache/recipe.schema.json
app recipes --schema >"$schema.new"
mv "$schema.new" "$schema"
