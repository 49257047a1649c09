//! The whole application: every resource, the documents that describe it, and what surrounds it.

use std::{collections::HashMap, sync::Arc};

use poem::{
    Endpoint, EndpointExt, Response,
    endpoint::make_sync,
    http::{HeaderValue, header},
};
use poem_openapi::{ContactObject, OpenApi, OpenApiService, Tags};

use crate::{
    admin, carts, catalogue, checkout, console, document, events, flows, gateways, identity, imports, jobs,
    middleware::{backpressure::Backpressure, boundary::Boundary, cors, edge::Edge, limits::Limits},
    orders, schedules, search,
    state::AppState,
    system, webhooks,
};

/// The chapters of the API document.
#[derive(Tags)]
pub enum Tag {
    /// Accounts, log-in and sessions.
    Identity,
    /// Categories and products, for everybody.
    Catalogue,
    /// Finding products.
    Search,
    /// Filling a cart.
    Carts,
    /// Turning a cart, or lines, into an order.
    Checkout,
    /// Orders, their events and their trail.
    Orders,
    /// Work in progress.
    Jobs,
    /// What payment gateways tell us.
    Gateways,
    /// Categories, products and variants, for those who run the shop.
    #[oai(rename = "Admin: catalogue")]
    AdminCatalogue,
    /// Stock levels and their ledger.
    #[oai(rename = "Admin: stock")]
    AdminStock,
    /// Files of products and stock coming in.
    #[oai(rename = "Admin: imports")]
    AdminImports,
    /// Every order.
    #[oai(rename = "Admin: orders")]
    AdminOrders,
    /// Who is told what happened.
    #[oai(rename = "Admin: webhooks")]
    AdminWebhooks,
    /// Keys for machines.
    #[oai(rename = "Admin: API keys")]
    AdminApiKeys,
    /// Work that comes round.
    #[oai(rename = "Admin: schedules")]
    AdminSchedules,
    /// Every job: looked for, retried, cancelled, discarded.
    #[oai(rename = "Admin: jobs")]
    AdminJobs,
    /// Queues, workers and checks.
    #[oai(rename = "Admin: system")]
    AdminSystem,
}

/// Every resource. A tuple takes 16; they nest.
fn resources() -> impl OpenApi + 'static {
    (
        (identity::routes::Auth, identity::routes::Me, catalogue::routes::Catalogue, search::routes::Search),
        (
            carts::routes::Carts,
            checkout::routes::Checkout,
            orders::routes::Orders,
            orders::routes::AdminOrders,
        ),
        (gateways::routes::Gateways, imports::routes::Imports, webhooks::routes::Webhooks),
        (flows::routes::Flows, flows::admin::AdminFlows),
        (
            jobs::routes::Jobs,
            jobs::admin::AdminJobs,
            schedules::routes::Schedules,
            system::routes::System,
            system::control::Control,
            system::workers::Workers,
            system::dependencies::Dependencies,
            system::dead::DeadLetters,
            events::routes::Pipelines,
            events::log::EventLog,
            search::admin::AdminSearch,
        ),
        (
            admin::categories::routes::AdminCategories,
            admin::products::routes::AdminProducts,
            admin::variants::routes::AdminVariants,
            admin::stock::routes::AdminStock,
            admin::api_keys::routes::AdminApiKeys,
            admin::people::routes::AdminPeople,
        ),
    )
}

fn service() -> OpenApiService<impl OpenApi + 'static, ()> {
    OpenApiService::new(resources(), "Waybill", waybill_platform::service::version())
        .summary("An e-commerce back end whose every order shows where it is and why")
        .description(include_str!("description.md"))
        .contact(ContactObject::new().name("Waybill"))
}

/// The `OpenAPI` 3 document, as `/openapi.json` serves it.
pub fn openapi() -> String {
    let routes = service().spec();
    document::with_events(&routes).unwrap_or_else(|error| {
        tracing::error!(%error, "the document of the API lacks the events");
        routes
    })
}

/// The application, ready to serve.
pub fn build(state: AppState) -> impl Endpoint<Output = Response> + 'static {
    let api = &state.config.api;
    let service = service();
    let document = openapi();
    let docs = service
        .scalar_html()
        .replacen("<title>Scalar</title>", "<title>Waybill API</title>", 1)
        .replacen(&service.spec(), &document, 1);
    let methods = methods(&service_meta());
    let https = api.public_url.scheme() == "https";
    let origins = api.allowed_origins.clone();
    let own = cors::SameOrigin::new(&api.public_url);
    let limits = Limits::new(&state.config);

    let v1 = service.with(Backpressure::new(state.load.clone())).with(limits).data(state.clone());
    console::mount(waybill_platform::ops::routes(state.readiness.clone()))
        .at("/openapi.json", poem::get(text(document, "application/json", None)))
        .at("/docs", poem::get(text(docs, "text/html; charset=utf-8", Some(DOCS_POLICY))))
        .nest_no_strip("/v1", v1)
        .with(Boundary { methods: Arc::new(methods) })
        .with_if(!origins.is_empty(), cors::layer(&origins))
        .with_if(!origins.is_empty(), own)
        .with(Edge { https })
}

/// The page of documents brings its own script and style and asks nobody but us.
const DOCS_POLICY: &str = "default-src 'self'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; \
                           img-src 'self' data:; font-src 'self' data:; worker-src blob:; frame-ancestors 'none'";

fn text(
    body: String,
    content_type: &'static str,
    policy: Option<&'static str>,
) -> impl Endpoint<Output = Response> {
    let body = bytes::Bytes::from(body);
    make_sync(move |_| {
        let mut response = Response::builder()
            .content_type(content_type)
            .header(header::CACHE_CONTROL, "public, max-age=300");
        if let Some(policy) = policy {
            response = response.header(header::CONTENT_SECURITY_POLICY, policy);
        }
        response.body(body.clone())
    })
}

fn service_meta() -> Vec<(String, Vec<String>)> {
    fn meta<T: OpenApi>(_: &T) -> Vec<(String, Vec<String>)> {
        let paths = T::meta().into_iter().flat_map(|api| api.paths);
        paths
            .map(|path| {
                (path.path, path.operations.iter().map(|operation| operation.method.to_string()).collect())
            })
            .collect()
    }
    meta(&resources())
}

/// The methods of each route, as `Allow` lists them.
fn methods(paths: &[(String, Vec<String>)]) -> HashMap<String, HeaderValue> {
    let mut allowed: HashMap<String, Vec<String>> = HashMap::new();
    for (path, methods) in paths {
        // The document writes /orders/{id}, the router /orders/:id.
        let pattern = path.replace('{', ":").replace('}', "");
        allowed.entry(pattern).or_default().extend(methods.iter().cloned());
    }
    allowed
        .into_iter()
        .filter_map(|(pattern, mut methods)| {
            methods.sort_unstable();
            methods.dedup();
            Some((pattern, HeaderValue::from_str(&methods.join(", ")).ok()?))
        })
        .collect()
}
