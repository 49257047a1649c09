//! Extractors that let only the right callers in. Put them first among a handler's arguments: arguments are read in
//! order, so nobody's body is read before it is known that they may send one.

use std::marker::PhantomData;

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use super::{
    caller::{Caller, User, identify},
    scope::ScopeMarker,
};
use crate::error::ApiError;

const BEARER: &str = "AccessToken";
const API_KEY: &str = "ApiKey";

/// A signed-in user, or 401.
#[derive(Debug, Clone)]
pub struct SignedIn(pub User);

/// A caller with the scope `S`: an API key that has it or an administrator; else 401 or 403.
#[derive(Debug, Clone)]
pub struct Allowed<S>(pub Caller, PhantomData<S>);

fn register_schemes(registry: &mut Registry) {
    registry.create_security_scheme(
        BEARER,
        MetaSecurityScheme {
            ty: "http",
            description: Some("The access token from /v1/auth/login, in Authorization: Bearer."),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: Some("JWT"),
            flows: None,
            openid_connect_url: None,
        },
    );
    registry.create_security_scheme(
        API_KEY,
        MetaSecurityScheme {
            ty: "apiKey",
            description: Some("A key from /v1/admin/api-keys, for machines."),
            name: Some("X-Api-Key"),
            key_in: Some("header"),
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        },
    );
}

macro_rules! security_extractor {
    ([$($generics:tt)*] $ty:ty, $schemes:expr, $fallback:literal, $caller:ident => $make:expr) => {
        impl<'a, $($generics)*> ApiExtractor<'a> for $ty {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                register_schemes(registry);
            }

            fn security_schemes() -> Vec<&'static str> {
                $schemes
            }

            fn has_security_fallback() -> bool {
                $fallback
            }

            async fn from_request(
                request: &'a Request,
                _body: &mut RequestBody,
                _options: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                let $caller = identify(request).await?;
                let made: Result<Self, ApiError> = $make;
                Ok(made?)
            }
        }
    };
}

security_extractor!([] Caller, vec![BEARER, API_KEY], true, caller => Ok(caller));

security_extractor!([] SignedIn, vec![BEARER], false, caller => match caller {
    Caller::Customer(user) | Caller::Admin(user) => Ok(SignedIn(user)),
    other => Err(other.require_user().err().unwrap_or_else(|| ApiError::unauthenticated("signing in is required"))),
});

security_extractor!([S: ScopeMarker] Allowed<S>, match S::SCOPE {
    Some(_) => vec![BEARER, API_KEY],
    None => vec![BEARER],
}, false, caller => match S::SCOPE {
    Some(scope) => caller.require(scope).map(|()| Allowed(caller, PhantomData)),
    None if caller.is_admin() => Ok(Allowed(caller, PhantomData)),
    None => Err(match caller {
        Caller::Guest => ApiError::unauthenticated("signing in is required"),
        _ => ApiError::forbidden("this is for administrators in person"),
    }),
});
