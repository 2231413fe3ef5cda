container=$(docker run --detach "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT
ask() { docker exec "$container" sh -c 'printf "stats\r\nquit\r\n" | nc 127.0.0.1 11211' | tr -d '\r' | grep limit_maxbytes; }
wait_for ask
ask
docker exec "$container" cat /etc/memcached/summary
docker inspect --format '{{json .Config.OnBuild}} {{json .Config.ExposedPorts}} {{json .Config.Cmd}}' "$1"
