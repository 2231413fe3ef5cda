docker run --rm "$1" version
container=$(docker run --detach "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT
wait_for docker exec "$container" /server get
docker exec "$container" /server get
