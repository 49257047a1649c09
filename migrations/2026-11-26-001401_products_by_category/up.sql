-- The products of a category in the order of their ids: a category is indexed anew page by page from its own rows. Not
-- concurrently: instances that start wait in a statement for the one that migrates, and such an index would wait for them. It took
-- 0.3 s for 200,000 rows.
create index product_categories_within on product_categories (category_id, product_id);
drop index product_categories_by_category;
