container=$(docker run --detach "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT
get() { docker exec "$container" bash -c "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3" | grep -a hello; }
wait_for get
get
docker exec "$container" sh -c 'ls -ln /var/www/vendor /var/www/public | cut -c1-40'
