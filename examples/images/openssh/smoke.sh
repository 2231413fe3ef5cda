container=$(docker run --detach "$1")
trap 'docker rm --force --volumes "$container" >/dev/null' EXIT
wait_for docker exec "$container" sh -c 'ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | grep -q ed25519'
docker exec "$container" sh -c '
    ssh-keygen -q -t ed25519 -N "" -f /tmp/key
    install -m 0600 -o jump -g jump /tmp/key.pub /home/jump/.ssh/authorized_keys
    ssh -i /tmp/key -o StrictHostKeyChecking=no -o LogLevel=ERROR jump@127.0.0.1 "id -un; pwd"
    stat -c "%a %U" /etc/ssh/sshd_config.d/jump.conf /home/jump/.ssh; ls /etc/ssh | grep -c host_ || true'
