docker run --rm "$1"
docker run --rm --entrypoint java "$1" --list-modules
