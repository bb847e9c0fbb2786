#!/bin/sh
# Check that the user can write to the checkout, then write the JSON Schema of recipes, for completion in the editor.
# Runs once in a new dev container; safe to repeat.
set -eu

if [ ! -w /workspace ]; then
    owner=$(stat -c %u /workspace)
    echo "error: user $(id -u) of the dev container cannot write to /workspace, which belongs to user $owner" >&2
    echo "  fix: if the engine maps users (userns-remap), use one that does not; else \`sudo chown -R \$(id -u) .\`" \
        "in the checkout on the host, and rebuild the container" >&2
    exit 1
fi

# In the container's home, not in a volume, where it could be another user's.
schema=/home/dev/recipe.schema.json
app recipes --schema >"$schema.new"
mv "$schema.new" "$schema"
