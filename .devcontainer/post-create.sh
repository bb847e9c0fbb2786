#!/bin/sh
# Write the JSON Schema of recipes, for completion in the editor. Runs once in a new dev container; safe to repeat.
set -eu

schema=/cache/recipe.schema.json
app recipes --schema >"$schema.new"
mv "$schema.new" "$schema"
