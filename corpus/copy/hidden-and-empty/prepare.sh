set -e
mkdir -p empty/inner; : > zero; chmod 700 empty/inner
