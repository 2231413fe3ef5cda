docker run --rm "$1"
docker run --rm "$1" sh -c 'getcap /usr/bin/bind-low*; stat -c "%h %A" /usr/bin/bind-low /queue'
