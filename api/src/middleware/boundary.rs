//! The one place where errors become answers.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use poem::{
    Endpoint, IntoResponse, Middleware, PathPattern, Request, Response, Result,
    error::MethodNotAllowedError,
    http::{HeaderValue, header},
};

use super::RequestId;
use crate::error::{ApiError, from_poem};

/// Turns errors and panics of everything inside into problems, logged once.
#[derive(Clone, Default)]
pub struct Boundary {
    /// Methods per path pattern, for `Allow` on a 405.
    pub methods: Arc<HashMap<String, HeaderValue>>,
}

impl<E: Endpoint> Middleware<E> for Boundary {
    type Output = BoundaryEndpoint<E>;

    fn transform(&self, inner: E) -> Self::Output {
        BoundaryEndpoint { inner, methods: Arc::clone(&self.methods) }
    }
}

/// See [`Boundary`].
pub struct BoundaryEndpoint<E> {
    inner: E,
    methods: Arc<HashMap<String, HeaderValue>>,
}

impl<E: Endpoint> Endpoint for BoundaryEndpoint<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let id = request.data::<RequestId>().cloned().unwrap_or_else(|| RequestId::of(&request));
        Ok(match AssertUnwindSafe(self.inner.call(request)).catch_unwind().await {
            Ok(Ok(response)) => response.into_response(),
            Ok(Err(error)) => self.render(error, &id),
            // The panic hook has logged message and place.
            Err(_) => {
                let error = ApiError::internal("a handler panicked");
                error.log();
                error.to_response(&id.0)
            }
        })
    }
}

impl<E> BoundaryEndpoint<E> {
    fn render(&self, error: poem::Error, id: &RequestId) -> Response {
        let pattern = error.data::<PathPattern>().cloned();
        let allow = pattern
            .as_ref()
            .filter(|_| error.is::<MethodNotAllowedError>())
            .and_then(|pattern| self.methods.get(pattern.0.as_ref()).cloned());
        let error = from_poem(error);
        error.log();
        let mut response = error.to_response(&id.0);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if let Some(pattern) = pattern {
            response.set_data(pattern);
        }
        response
    }
}

/// An error that arose outside the boundary (CORS), rendered the same way.
pub fn render(error: poem::Error, id: &RequestId) -> Response {
    let error = from_poem(error);
    error.log();
    error.to_response(&id.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use poem::{EndpointExt, endpoint::make_sync, http::StatusCode};
    use serde_json::Value;

    use super::*;

    async fn answer(endpoint: impl Endpoint<Output = Response>) -> (StatusCode, Value) {
        let response = endpoint.with(Boundary::default()).get_response(Request::default()).await;
        let status = response.status();
        let body = response.into_body().into_bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_500_that_tells_nothing() {
        let (status, body) = answer(make_sync(|_| -> Response { panic!("secret") })).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(body["code"], "internal");
        assert!(!body.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn an_internal_error_keeps_its_cause_to_itself() {
        let failing =
            make_sync(|_| -> Result<Response> { Err(ApiError::internal("select * from secrets").into()) });
        let (status, body) = answer(failing.map_to_response()).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body.to_string().contains("secrets"));
    }

    #[tokio::test]
    async fn a_status_that_nobody_explained_is_a_problem_all_the_same() {
        let failing =
            make_sync(|_| -> Result<Response> { Err(poem::Error::from_status(StatusCode::IM_A_TEAPOT)) });
        let (status, body) = answer(failing.map_to_response()).await;
        assert_eq!((status, &body["code"]), (StatusCode::IM_A_TEAPOT, &Value::from("malformed")));
    }
}
