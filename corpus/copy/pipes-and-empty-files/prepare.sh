set -e
mkfifo -m 620 pipe; : > empty; mkdir d; mkfifo d/p
