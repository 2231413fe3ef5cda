create table greeting (text text); insert into greeting values ('hello from the table');
