//! An application per test.

use poem::{
    Endpoint, EndpointExt, Request, Response,
    endpoint::BoxEndpoint,
    http::{HeaderMap, Method, StatusCode},
};
use serde_json::{Value, json};
use waybill_api::{AppState, app, identity};
use waybill_jobs::testing::TestDatabase;
use waybill_platform::Config;

pub const ADMIN: &str = "root@example.com";
pub const PASSWORD: &str = "correct horse battery";

/// An application over a database of its own.
pub struct App {
    pub db: TestDatabase,
    pub state: AppState,
    endpoint: BoxEndpoint<'static>,
    pub files: tempfile::TempDir,
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body, if the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self.body
    }

    /// Checks status and code of a problem.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body:#}");
        assert_eq!(body["type"], format!("/problems/{code}"));
        assert_eq!(body["status"], status);
        body
    }

    /// The fields at fault with their codes, sorted.
    #[track_caller]
    pub fn faults(self) -> Vec<(String, String)> {
        let body = self.problem(422, "validation");
        let errors = body["errors"].as_array().unwrap();
        let text = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
        let mut faults: Vec<_> = errors.iter().map(|e| (text(e, "field"), text(e, "code"))).collect();
        faults.sort();
        faults
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A request in the making.
pub struct Call<'a> {
    app: &'a App,
    request: poem::RequestBuilder,
    body: Vec<u8>,
}

impl Call<'_> {
    pub fn token(mut self, token: &str) -> Self {
        self.request = self.request.header("authorization", format!("Bearer {token}"));
        self
    }

    pub fn key(mut self, key: &str) -> Self {
        self.request = self.request.header("x-api-key", key);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(mut self, body: Value) -> Self {
        self.request = self.request.content_type("application/json");
        self.body = body.to_string().into_bytes();
        self
    }

    pub fn text(mut self, content_type: &str, body: &str) -> Self {
        self.request = self.request.content_type(content_type);
        self.body = body.as_bytes().to_vec();
        self
    }

    pub fn bytes(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.request = self.request.content_type(content_type);
        self.body = body;
        self
    }

    /// The answer with its body unread, for streams.
    pub async fn open(self) -> Response {
        let request: Request = self.request.body(self.body);
        self.app.endpoint.get_response(request).await
    }

    pub async fn send(self) -> Answer {
        let response = self.open().await;
        let (parts, body) = response.into_parts();
        let bytes = body.into_bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

impl App {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With settings other than the defaults.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let db = TestDatabase::create().await;
        let files = tempfile::tempdir().unwrap();
        let mut variables = vec![
            ("WAYBILL_DATABASE__URL".to_owned(), db.url().to_owned()),
            ("WAYBILL_FILES__URL".to_owned(), files.path().display().to_string()),
            ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_EMAIL".to_owned(), ADMIN.to_owned()),
            ("WAYBILL_AUTH__BOOTSTRAP_ADMIN_PASSWORD".to_owned(), PASSWORD.to_owned()),
        ];
        variables.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let config = Config::from_variables(variables).unwrap();
        let state = AppState::new(config, db.pool().clone()).unwrap();
        identity::bootstrap::admin(&state).await.unwrap();
        Self { db, state: state.clone(), endpoint: app::build(state).boxed(), files }
    }

    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        Call { app: self, request: Request::builder().method(method).uri_str(path), body: Vec::new() }
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: Value) -> Call<'_> {
        self.call(Method::POST, path).json(body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Call<'_> {
        self.call(Method::PATCH, path).json(body)
    }

    pub fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    /// Opens an account; answers the log-in.
    pub async fn register(&self, email: &str) -> Value {
        let body = json!({ "email": email, "password": PASSWORD, "first_name": "Jane", "last_name": "Doe" });
        self.post("/v1/auth/register", body).send().await.expect(201)
    }

    pub async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/auth/login", json!({ "email": email, "password": password })).send().await
    }

    /// The administrator's access token.
    pub async fn admin(&self) -> String {
        let login = self.login(ADMIN, PASSWORD).await.expect(200);
        login["access_token"].as_str().unwrap().to_owned()
    }

    /// Makes a product of one variant on sale; answers it.
    pub async fn product(&self, admin: &str, name: &str, sku: &str, price: &str) -> Value {
        let body = json!({
            "name": name, "status": "active",
            "variants": [{ "sku": sku, "price": { "amount": price, "currency": "GBP" } }],
        });
        self.post("/v1/admin/products", body).token(admin).send().await.expect(201)
    }

    /// Sets the pieces on hand of a SKU.
    pub async fn stock(&self, admin: &str, sku: &str, on_hand: i32) -> Value {
        let body = json!({ "sku": sku, "on_hand": on_hand, "reason": "count" });
        self.post("/v1/admin/stock/adjustments", body).token(admin).send().await.expect(201)
    }
}

/// A text in a JSON value.
#[track_caller]
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value:#}"))
}
