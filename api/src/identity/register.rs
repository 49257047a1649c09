//! Opening an account.

use diesel_async::AsyncConnection;
use serde_json::json;
use waybill_jobs::{Enqueue, emit, enqueue_with, events::CustomerRegistered, kinds::SendMail};
use waybill_schema::{
    Conn, Email,
    mails::{self, MailTemplate, NewMail},
    new_id,
    users::{NewUser, UserRole, accounts},
};

use super::{
    dto::{AuthDto, RegisterRequest},
    sessions::{self, Client},
};
use crate::{
    auth::password,
    error::{ApiError, ApiResult, FieldErrors, codes},
    state::AppState,
};

/// Digits, spaces and `+-()./`, with 5 to 20 digits.
fn check_phone(phone: Option<&String>, errors: &mut FieldErrors) -> Option<String> {
    let phone = phone.map(|text| text.trim()).filter(|text| !text.is_empty())?;
    let digits = phone.bytes().filter(u8::is_ascii_digit).count();
    let plain = phone.chars().all(|c| c.is_ascii_digit() || " +-()./".contains(c));
    if !plain || !(5..=20).contains(&digits) || phone.len() > 40 {
        errors.add("phone", "invalid", "is not a telephone number");
    }
    Some(phone.to_owned())
}

/// Checks everything, then writes the account, its first session, the mail to verify the address, the job that sends it
/// and the event in one transaction.
pub async fn register(state: &AppState, request: RegisterRequest, client: &Client) -> ApiResult<AuthDto> {
    let mut errors = FieldErrors::new();
    let email = errors.take("email", "invalid", Email::parse(&request.email));
    let first_name = errors.text("first_name", &request.first_name, 1, 100);
    let last_name = errors.text("last_name", &request.last_name, 1, 100);
    let phone = check_phone(request.phone.as_ref(), &mut errors);
    password::check("password", &request.password, &request.email, &mut errors);
    let email = errors.finish(email)?;

    let taken = || ApiError::conflict(codes::EMAIL_TAKEN, "this address has an account: log in");
    // Hashing costs much; an address that is taken need not pay for it. The insert decides.
    let mut conn = state.conn().await?;
    if accounts::by_email(&mut conn, email.as_str()).await?.is_some() {
        return Err(taken());
    }
    // No connection is held while a hash waits for its turn.
    drop(conn);
    let password_hash = state.passwords.hash(request.password).await?;
    let user = NewUser {
        email: email.clone(),
        password_hash,
        first_name,
        last_name,
        phone,
        role: UserRole::Customer,
    };

    let mut conn = state.conn().await?;
    (*conn)
        .transaction(async |conn: &mut Conn| {
            let user = accounts::insert(conn, &user).await?.ok_or_else(taken)?;
            let mail = NewMail {
                id: new_id(),
                dedupe_key: format!("verify_email:{}:1", user.id),
                template: MailTemplate::VerifyEmail,
                recipient: email.clone(),
                correlation_id: Some(user.id),
                // The token of its link is made when it is sent, so that no secret waits in the database.
                context: json!({ "user_id": user.id }),
            };
            mails::insert(conn, std::slice::from_ref(&mail)).await?;
            let owner = Enqueue {
                owner_id: Some(user.id),
                correlation_id: Some(user.id),
                subject_id: Some(user.id),
                ..Enqueue::default()
            };
            enqueue_with(conn, &SendMail { mail_id: mail.id }, owner).await?;
            let event = CustomerRegistered { customer_id: user.id, registered_at: user.created_at };
            emit(conn, &event, None).await?;
            sessions::open(state, conn, user, client).await
        })
        .await
}
