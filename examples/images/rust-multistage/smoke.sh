printf 'a\nb\nc\n' | docker run --rm --interactive "$1"
docker run --rm --entrypoint id "$1"
