docker run --rm "$1"
docker run --rm "$1" sh -c 'id; pwd; stat -c "%A %U:%G" /opt/env /opt/env/bin /home/jovyan /etc/passwd'
