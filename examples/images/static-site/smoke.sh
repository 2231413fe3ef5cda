container=$(docker run --detach "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT
get() { docker exec "$container" wget -q -O - "http://127.0.0.1:3000/$1"; }
wait_for get index.html
get page.html
docker exec "$container" id
