docker run --rm "$1" head -c 8 /out/paper.pdf | tr -d '\n'; echo
docker run --rm "$1" sh -c 'wc -c </out/paper.pdf; grep -c "There were undefined references" paper.log; ls /out'
