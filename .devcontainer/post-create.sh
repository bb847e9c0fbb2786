#!/bin/sh
# Runs once in a new dev container: writes the JSON Schema of recipes, for completion in the editor.
set -eu

schema=/cache/recipe.schema.json
app recipes --schema >"$schema.new"
mv "$schema.new" "$schema"
