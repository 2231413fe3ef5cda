# A container answers, and its health check agrees.
container=$(docker run --detach "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT
wait_for docker exec "$container" healthcheck
docker exec "$container" node -e 'require("http").get({port: 8080}, (a) => a.pipe(process.stdout))'
docker inspect --format '{{json .Config.Healthcheck}} {{.Config.User}} {{.Config.StopSignal}}' "$1"
