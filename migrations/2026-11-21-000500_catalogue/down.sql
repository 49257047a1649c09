drop table product_search;
drop table variants;
drop table product_options;
drop table product_categories;
drop table products;
drop table categories;
drop function waybill_category_no_cycle();
