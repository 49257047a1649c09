drop table idempotency_keys;
drop table order_history;
drop table order_lines;
drop table orders;
drop sequence order_numbers;
drop table cart_lines;
drop table carts;
