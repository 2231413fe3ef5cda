#!/bin/bash
# Sets up the user's side of the container, then becomes the command.
set -euo pipefail

mkdir -p "$HOME/.config/opencode" "$HOME/.local/share" 2>/dev/null || true

if [ -n "${GIT_USER_NAME:-}" ]; then
    git config --global user.name "$GIT_USER_NAME"
fi
if [ -n "${GIT_USER_EMAIL:-}" ]; then
    git config --global user.email "$GIT_USER_EMAIL"
fi

exec "$@"
