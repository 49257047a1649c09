use poem::{Request, web::Data};
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};
use waybill_schema::catalogue::{
    categories as category_rows, detail,
    listing::{self, Position, Sort},
};

use super::{CategoryDto, CategoryTreeDto, Parameters, ProductDto, ProductSummaryDto, categories};
use crate::{
    app::Tag,
    error::{ApiError, ApiResult},
    http::{Cached, Page, PageRequest},
    state::AppState,
};

/// Stock and prices move; a few seconds spare a busy page most of its requests and are not noticed.
const A_MOMENT: &str = "public, max-age=5";
/// Categories hardly move.
const A_MINUTE: &str = "public, max-age=60";

/// `/v1/categories` and `/v1/products`.
pub struct Catalogue;

#[OpenApi(prefix_path = "/v1", tag = "Tag::Catalogue")]
impl Catalogue {
    /// The category tree
    #[oai(path = "/categories", method = "get", operation_id = "listCategories")]
    async fn categories(
        &self,
        state: Data<&AppState>,
        request: &Request,
    ) -> ApiResult<Cached<CategoryTreeDto>> {
        let mut conn = state.conn().await?;
        let data = categories::tree(category_rows::all(&mut conn, true).await?);
        Ok(Cached::of_content(request, &CategoryTreeDto { data }, A_MINUTE))
    }

    /// One category
    ///
    /// With the path from its root, and what is below it.
    #[oai(path = "/categories/:slug", method = "get", operation_id = "getCategory")]
    async fn category(
        &self,
        state: Data<&AppState>,
        request: &Request,
        slug: Path<String>,
    ) -> ApiResult<Cached<CategoryDto>> {
        let mut conn = state.conn().await?;
        let roots = categories::tree(category_rows::all(&mut conn, true).await?);
        let category = categories::find(roots, &slug).ok_or_else(|| ApiError::not_found("category"))?;
        Ok(Cached::of_content(request, &category, A_MINUTE))
    }

    /// Products on sale
    #[allow(clippy::too_many_arguments, reason = "one per query parameter")]
    #[oai(path = "/products", method = "get", operation_id = "listProducts")]
    async fn products(
        &self,
        state: Data<&AppState>,
        request: &Request,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// 1 to 100, 20 by default.
        limit: Query<Option<i64>>,
        /// `newest` (the default), `name`, `-name`, `price` or `-price`.
        sort: Query<Option<String>>,
        /// Slug of a category; what is below it counts.
        category: Query<Option<String>>,
        /// Brand, whatever its case.
        brand: Query<Option<String>>,
        /// Some variant costs at least this.
        price_min: Query<Option<String>>,
        /// Some variant costs at most this.
        price_max: Query<Option<String>>,
        /// Only what can be bought now.
        in_stock: Query<Option<bool>>,
    ) -> ApiResult<Cached<Page<ProductSummaryDto>>> {
        let sort = match sort.0.as_deref().filter(|text| !text.is_empty()) {
            None => Sort::Newest,
            Some(text) => text.parse().map_err(|e: waybill_schema::domain::text_enum::UnknownText| {
                ApiError::field("sort", "invalid", e.to_string())
            })?,
        };
        let page = PageRequest::<Position>::parse(cursor.0.as_deref(), limit.0)?;
        if page.after.as_ref().is_some_and(|after| !after.fits(sort)) {
            return Err(ApiError::field("cursor", "invalid", "belongs to another sort order"));
        }
        let mut conn = state.conn().await?;
        let parameters = Parameters {
            category: category.0,
            brand: brand.0,
            price_min: price_min.0,
            price_max: price_max.0,
            in_stock: in_stock.0,
        };
        let filter = parameters.resolve(&mut conn).await?;
        let rows = listing::on_sale(&mut conn, sort, &filter, page.after.as_ref(), page.fetch()).await?;
        drop(conn);
        let currency = state.currency;
        let page = page.page(rows, |row| row.position(sort), |row| ProductSummaryDto::new(row, currency));
        Ok(Cached::of_content(request, &page, A_MOMENT))
    }

    /// One product
    ///
    /// By id or by slug; 404 unless it is on sale.
    #[oai(path = "/products/:id", method = "get", operation_id = "getProduct")]
    async fn product(
        &self,
        state: Data<&AppState>,
        request: &Request,
        /// Id or slug.
        id: Path<String>,
    ) -> ApiResult<Cached<ProductDto>> {
        let mut conn = state.conn().await?;
        let product = detail::on_sale(&mut conn, &id).await?;
        drop(conn);
        let product = product.ok_or_else(|| ApiError::not_found("product"))?;
        Ok(Cached::of_content(request, &ProductDto::new(product, state.currency), A_MOMENT))
    }
}
