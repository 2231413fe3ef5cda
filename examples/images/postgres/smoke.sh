container=$(docker run --detach "$1")
trap 'docker rm --force --volumes "$container" >/dev/null' EXIT
ask() { docker exec "$container" psql -h 127.0.0.1 -At -c 'select text from greeting' postgres; }
wait_for ask
ask
docker exec "$container" sh -c 'id; stat -c "%A %U" /var/run/postgresql "$PGDATA"; postgres --version'
