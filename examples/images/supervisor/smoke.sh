container=$(docker run --detach "$1")
trap 'docker rm --force --volumes "$container" >/dev/null' EXIT
get() { docker exec "$container" bash -c "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET /cgi-bin/count.pl HTTP/1.0\r\n\r\n' >&3; cat <&3" | grep -a 'work says'; }
wait_for get
get
