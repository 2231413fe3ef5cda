set -e
printf c > "$(printf '\303\251')"; printf d > "$(printf 'e\314\201')"; mkdir "$(printf '\346\227\245\346\234\254')"; : > "$(printf '\346\227\245\346\234\254/\360\237\230\200')"; : > 'quo"te'"'"'s'; : > 'tab	here'; : > 'back\slash'
