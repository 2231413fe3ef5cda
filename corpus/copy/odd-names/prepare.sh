printf x > "back\\slash"
printf y > "tab	here"
printf z > "line
break"
