create index product_categories_by_category on product_categories (category_id);
drop index product_categories_within;
