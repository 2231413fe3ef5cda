docker run --rm "$1" zsh -ic 'sudo -n id -un; id -un; locale charmap; ls -A ~; ls /workspaces; /workspaces/tools/run.sh; cat /etc/built-by; git -C example status --short --branch'
