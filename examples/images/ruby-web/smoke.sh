container=$(docker run --detach "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT
get() { docker exec "$container" ruby -rnet/http -e 'puts Net::HTTP.get(URI("http://127.0.0.1:9292/"))'; }
wait_for get
get
docker inspect --format '{{json .Config.Shell}} {{json .Config.OnBuild}}' "$1"
