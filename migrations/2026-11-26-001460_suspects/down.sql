update jobs set hold = null where hold = 'suspect';
alter table jobs drop column losses;
