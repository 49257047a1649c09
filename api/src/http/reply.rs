//! The usual answers: 200, 201 and 202 with a body and perhaps a Location, 204.

use poem::{IntoResponse, Response, http::StatusCode, http::header};
use poem_openapi::{
    ApiResponse,
    payload::{Json, Payload},
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ToJSON, Type},
};

/// The media type of every body but a problem.
pub(super) const fn json_type() -> &'static str {
    "application/json; charset=utf-8"
}

macro_rules! located {
    ($(#[$meta:meta])* $name:ident, $status:literal, $description:literal) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name<T> {
            /// Path of the resource, relative to the API's root.
            pub location: String,
            /// The body.
            pub body: T,
        }

        impl<T: ToJSON> IntoResponse for $name<T> {
            fn into_response(self) -> Response {
                let mut response = Json(self.body).into_response();
                response.set_status(StatusCode::from_u16($status).unwrap_or(StatusCode::OK));
                if let Ok(location) = self.location.parse() {
                    response.headers_mut().insert(header::LOCATION, location);
                }
                response
            }
        }

        impl<T: Type + ToJSON> ApiResponse for $name<T> {
            fn meta() -> MetaResponses {
                let location = MetaHeader {
                    name: "Location".to_owned(),
                    description: Some("Path of the resource".to_owned()),
                    required: true,
                    deprecated: false,
                    schema: String::schema_ref(),
                };
                MetaResponses { responses: vec![one::<T>($status, $description, vec![location])] }
            }

            fn register(registry: &mut Registry) {
                T::register(registry);
            }
        }
    };
}

located! {
    /// 201 with `Location`.
    Created, 201, "Created"
}

located! {
    /// 202 with `Location`: where to ask how it went.
    Accepted, 202, "Accepted: ask at Location how it goes"
}

/// 204.
#[derive(Debug)]
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

impl ApiResponse for NoContent {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Done",
                status: Some(204),
                status_range: None,
                content: vec![],
                headers: vec![],
            }],
        }
    }

    fn register(_registry: &mut Registry) {}
}

/// 200 or 201 with a body, where a handler may find what it was asked to make.
#[derive(Debug)]
pub enum Reply<T> {
    /// 200.
    Found(T),
    /// 201 with `Location`.
    Created(Created<T>),
}

impl<T: ToJSON> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Found(body) => Json(body).into_response(),
            Self::Created(created) => created.into_response(),
        }
    }
}

impl<T: Type + ToJSON> ApiResponse for Reply<T> {
    fn meta() -> MetaResponses {
        let mut meta = Created::<T>::meta();
        meta.responses.insert(0, one::<T>(200, "There already", vec![]));
        meta
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

fn one<T: Type + ToJSON>(status: u16, description: &'static str, headers: Vec<MetaHeader>) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }],
        headers,
    }
}
