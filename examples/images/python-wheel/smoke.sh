docker run --rm "$1"
docker run --rm "$1" '<b>'
docker run --rm --entrypoint id "$1"
