use serde_json::json;
use waybill_jobs::{kinds::SendMail, testing::enqueued};

use crate::support::{App, PASSWORD, text};

#[tokio::test]
async fn weak_and_malformed_registrations_are_refused_by_field() {
    let app = App::start().await;
    let register = |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password, "first_name": " ", "last_name": "x".repeat(101), "phone": "me" });
        app.post("/v1/auth/register", body).send()
    };
    let fault = |field: &str, code: &str| (field.to_owned(), code.to_owned());
    let faults = register("nobody", "short").await.faults();
    let expected = [
        fault("email", "invalid"),
        fault("first_name", "required"),
        fault("last_name", "too_long"),
        fault("password", "too_short"),
        fault("phone", "invalid"),
    ];
    assert_eq!(faults, expected);
    assert!(
        register("a@example.com", "Password123").await.faults().contains(&fault("password", "too_common"))
    );
    let own = register("a.person@example.com", "A.Person@Example.com").await;
    assert!(own.faults().contains(&fault("password", "is_email")));
    assert_eq!(app.db.count("select count(*) as n from users where role = 'customer'").await, 0);
}

#[tokio::test]
async fn registering_signs_in_and_asks_to_verify_the_address_once() {
    let app = App::start().await;
    let login = app.register("Jane@Example.com").await;
    assert_eq!(login["user"]["email"], "Jane@Example.com");
    assert_eq!(login["user"]["email_verified"], false);
    assert_eq!(login["token_type"], "Bearer");
    assert_eq!(login["expires_in"], 900);

    let mails = enqueued::<SendMail>(app.db.pool()).await;
    assert_eq!(mails.len(), 1);
    let due =
        app.db.count("select count(*) as n from mails where template = 'verify_email' and status = 'queued'");
    assert_eq!(due.await, 1);
    let events = app.db.count("select count(*) as n from outbox where topic = 'customer.registered'");
    assert_eq!(events.await, 1);

    let me = app.get("/v1/me").token(text(&login, "access_token")).send().await.expect(200);
    assert_eq!(me["id"], login["user"]["id"]);

    let body =
        json!({ "email": "jane@example.COM", "password": PASSWORD, "first_name": "J", "last_name": "D" });
    app.post("/v1/auth/register", body).send().await.problem(409, "email_taken");
}

#[tokio::test]
async fn of_simultaneous_registrations_of_one_address_one_succeeds() {
    let app = App::start().await;
    let body = json!({ "email": "j@example.com", "password": PASSWORD, "first_name": "J", "last_name": "D" });
    let calls = (0..4).map(|_| app.post("/v1/auth/register", body.clone()).send());
    let answers = futures::future::join_all(calls).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
    assert_eq!(app.db.count("select count(*) as n from mails").await, 1);
}

#[tokio::test]
async fn a_token_of_the_mail_verifies_once() {
    let app = App::start().await;
    let login = app.register("v@example.com").await;
    let hash = hex::encode(waybill_api::auth::secret::hash("the token"));
    app.db
        .execute(&format!(
            "insert into user_tokens (hash, user_id, purpose, expires_at)
             values ('\\x{hash}', '{}', 'verify_email', now() + interval '1 hour')",
            text(&login["user"], "id"),
        ))
        .await;
    app.post("/v1/auth/verify-email", json!({ "token": "another" })).send().await.problem(422, "validation");
    app.post("/v1/auth/verify-email", json!({ "token": "the token" })).send().await.expect(204);
    let me = app.get("/v1/me").token(text(&login, "access_token")).send().await.expect(200);
    assert_eq!(me["email_verified"], true);
    app.post("/v1/auth/verify-email", json!({ "token": "the token" }))
        .send()
        .await
        .problem(422, "validation");
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_session() {
    let app = App::start().await;
    let login = app.register("r@example.com").await;
    let refresh = |token: &str| app.post("/v1/auth/refresh", json!({ "refresh_token": token })).send();

    let next = refresh(text(&login, "refresh_token")).await.expect(200);
    assert_ne!(next["refresh_token"], login["refresh_token"]);
    app.get("/v1/me").token(text(&next, "access_token")).send().await.expect(200);

    // Somebody else shows the spent one: nobody can tell who is the thief, so both are out.
    refresh(text(&login, "refresh_token")).await.problem(401, "token_reused");
    app.get("/v1/me").token(text(&next, "access_token")).send().await.problem(401, "unauthenticated");
    refresh(text(&next, "refresh_token")).await.problem(401, "unauthenticated");
    refresh("wbr_invented").await.problem(401, "unauthenticated");
    assert_eq!(app.db.count("select count(*) as n from sessions where revoked_reason = 'reuse'").await, 1);
}

#[tokio::test]
async fn of_simultaneous_refreshes_at_most_one_succeeds() {
    let app = App::start().await;
    let login = app.register("race@example.com").await;
    let body = json!({ "refresh_token": login["refresh_token"] });
    let calls = (0..5).map(|_| app.post("/v1/auth/refresh", body.clone()).send());
    let answers = futures::future::join_all(calls).await;
    let won = answers.iter().filter(|answer| answer.status.as_u16() == 200).count();
    assert_eq!(won, 1);
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 200 | 401)));
}

#[tokio::test]
async fn sessions_end_one_by_one_or_all_at_once_and_at_once() {
    let app = App::start().await;
    let first = app.register("s@example.com").await;
    let second = app.login("S@example.com", PASSWORD).await.expect(200);
    let third = app.login("s@example.com", PASSWORD).await.expect(200);
    let (first, second, third) =
        (text(&first, "access_token"), text(&second, "access_token"), text(&third, "access_token"));

    let sessions = app.get("/v1/auth/sessions").token(first).send().await.expect(200);
    let sessions = sessions["data"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    let current: Vec<bool> = sessions.iter().map(|session| session["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [false, false, true]);

    let newest = format!("/v1/auth/sessions/{}", text(&sessions[0], "id"));
    app.delete(&newest).token(first).send().await.expect(204);
    app.get("/v1/me").token(third).send().await.problem(401, "unauthenticated");
    app.delete(&newest).token(first).send().await.problem(404, "not_found");

    let other = app.register("other@example.com").await;
    let mine = format!("/v1/auth/sessions/{}", text(&sessions[1], "id"));
    app.delete(&mine).token(text(&other, "access_token")).send().await.problem(404, "not_found");

    app.post("/v1/auth/logout", json!({})).token(second).send().await.expect(204);
    app.get("/v1/me").token(second).send().await.problem(401, "unauthenticated");
    app.post("/v1/auth/logout-all", json!({})).token(first).send().await.expect(204);
    app.get("/v1/me").token(first).send().await.problem(401, "unauthenticated");
    app.get("/v1/me").token(text(&other, "access_token")).send().await.expect(200);
}

#[tokio::test]
async fn tokens_of_others_and_deactivated_users_count_for_nothing() {
    let app = App::start().await;
    let login = app.register("d@example.com").await;
    let token = text(&login, "access_token");
    // Another key's signature.
    let forged =
        App::with(&[("WAYBILL_AUTH__JWT_SECRET", "another secret that is long enough to be one")]).await;
    forged.get("/v1/me").token(token).send().await.problem(401, "unauthenticated");
    // The same claims, unsigned.
    let claims = token.split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
    app.get("/v1/me").token(&unsigned).send().await.problem(401, "unauthenticated");
    app.get("/v1/me").header("authorization", "Basic abc").send().await.problem(401, "unauthenticated");
    // A wrong token is refused where none is needed, too... on what looks at it.
    app.get("/v1/me").token(token).key("wbk_x").send().await.problem(400, "malformed");

    app.db.execute("update users set status = 'deactivated' where email = 'd@example.com'").await;
    app.get("/v1/me").token(token).send().await.problem(401, "unauthenticated");
    app.login("d@example.com", PASSWORD).await.problem(401, "invalid_credentials");
    let body = json!({ "refresh_token": login["refresh_token"] });
    app.post("/v1/auth/refresh", body).send().await.problem(401, "unauthenticated");
}
