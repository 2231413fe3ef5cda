container=$(docker run --detach "$1")
trap 'docker rm --force "$container" >/dev/null' EXIT
get() { docker exec "$container" bash -c "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET $1 HTTP/1.0\r\n\r\n' >&3; cat <&3" | grep -aE '^HTTP|^<|below'; }
wait_for get /
get /sub/page.txt
docker exec "$container" sh -c 'cat /proc/1/comm; cat /etc/nginx/conf.d/site.conf'
docker run --rm "$1" nginx -v 2>&1
