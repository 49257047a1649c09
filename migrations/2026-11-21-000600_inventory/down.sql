drop table stock_ledger;
drop table stock_levels;
drop table locations;
