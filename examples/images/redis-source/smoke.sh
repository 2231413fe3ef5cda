container=$(docker run --detach "$1")
trap 'docker rm --force --volumes "$container" >/dev/null' EXIT
wait_for docker exec "$container" redis-cli ping
docker exec "$container" redis-cli set key value
docker exec "$container" redis-cli get key
docker exec "$container" sh -c 'id -un; pwd; command -v gcc || echo no compiler'
