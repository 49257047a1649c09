//! Bad files and bad rows.
#![allow(clippy::unwrap_used, clippy::panic)]

use waybill_jobs::Outcome;
use waybill_schema::imports::{ImportKind, ImportStatus};

use super::{Setup, counts};

#[tokio::test]
async fn bad_rows_are_reported_and_the_others_go_in() {
    let setup = Setup::new(3).await;
    let mut file = b"\xef\xbb\xbf SKU , Name,PRICE,currency,status,weight grams,description\r\n".to_vec();
    for line in [
        "A1, Lamp ,2.50,,,,\"two\nlines, \"\"quoted\"\"\"", // 2, good
        "",                                                 // 3, blank
        ",,,,,,",                                           // 4, blank cells
        ",Lamp,1.00,,,,",                                   // 5
        "A2,,-1,,,,",                                       // 6
        "A3,Lamp,2.50001,EURO,sold,-4,",                    // 7
        "A4,Lamp,\"1,50\",,,,",                             // 8
        "A5,Lamp",                                          // 9
        "A6,Lamp,1,,,,,extra",                              // 10
        "A7,Lamp,1,,,,,,",                                  // 11, good
        "A8,Lamp,£3,,,,",                                   // 12
        "A9,Lamp,1e3,,,,",                                  // 13
    ] {
        file.extend_from_slice(line.as_bytes());
        file.extend_from_slice(b"\r\n");
    }
    file.extend_from_slice(b"B1,Caf\xe9,1,,,,\r\n"); // 14
    file.extend_from_slice(b"B2,\"open,1,,,,\r\n"); // 15
    file.extend_from_slice(b"B3,Bowl,1,eur,DRAFT,250,last"); // 16, good
    let import = setup.import(ImportKind::Products, &file).await;
    assert_eq!((import.status, import.error.as_deref()), (ImportStatus::Completed, None));
    assert_eq!(counts(&import), [15, 3, 0, 0, 10]);
    let not_a_number = "is not a number such as 12.50";
    assert_eq!(
        setup.errors(&import).await,
        [
            "5 sku \"\" must not be blank".to_owned(),
            "6 name \"\" must not be blank".to_owned(),
            "6 price \"-1\" is negative".to_owned(),
            "7 currency \"EURO\" \"EURO\" is not an ISO 4217 currency code (three capital letters)"
                .to_owned(),
            "7 price \"2.50001\" has more than 4 decimals".to_owned(),
            "7 status \"sold\" \"sold\" is not one of: draft, active, inactive, discontinued".to_owned(),
            "7 weight_grams \"-4\" is not a whole number from 0 to 100000000".to_owned(),
            format!("8 price \"1,50\" {not_a_number}"),
            "9 row \"A5\" has 2 columns where the header has 7".to_owned(),
            "10 row \"A6\" has 8 columns where the header has 7".to_owned(),
            format!("12 price \"£3\" {not_a_number}"),
            format!("13 price \"1e3\" {not_a_number}"),
            "14 name \"Caf\u{fffd}\" is not UTF-8: save the file as UTF-8".to_owned(),
            "15 row \"\" a quote is opened and not closed".to_owned(),
        ]
    );
    let db = &setup.db;
    assert_eq!(db.text("select string_agg(sku, ' ' order by sku) from variants").await, "A1 A7 B3");
    assert_eq!(
        db.text("select description from products where description like 'two%'").await,
        "two\nlines, \"quoted\""
    );
    assert_eq!(
        db.text("select concat_ws(':', v.currency, p.status, p.weight_grams) from variants v join products p on p.id = v.product_id where sku = 'B3'").await,
        "EUR:draft:250"
    );
}

#[tokio::test]
async fn files_that_cannot_be_used_fail_as_a_whole_and_say_why() {
    let setup = Setup::new(500).await;
    for (kind, file, expected) in [
        (
            ImportKind::Products,
            &b""[..],
            "the file is empty; expected a header with sku, name, price (required)",
        ),
        (ImportKind::Products, b"\n\n", "the file is empty"),
        (
            ImportKind::Products,
            b"sku,title\nA,B\n",
            "the header has no column name, price; expected sku, name, price",
        ),
        (ImportKind::Products, b"sku,name,price,colour\n", "unknown columns: \"colour\""),
        (ImportKind::Stock, b"sku,name,price\n", "the header has no column on_hand"),
        (ImportKind::Stock, b"PK\x03\x04\0\0", "an Excel workbook"),
        (ImportKind::Stock, b"\xff\xfes\0k\0u\0", "UTF-16"),
        (ImportKind::Stock, b"sku,on_\xe9,on_hand\n", "not UTF-8"),
    ] {
        let import = setup.import(kind, file).await;
        assert_eq!(import.status, ImportStatus::Failed, "{expected}");
        let error = import.error.unwrap();
        assert!(error.contains(expected), "{error}");
    }
    let empty = setup.import(ImportKind::Stock, "sku,on_hand\n").await;
    assert_eq!((empty.status, counts(&empty)), (ImportStatus::Completed, [0; 5]));
    let import = setup.upload(ImportKind::Stock, b"sku,on_hand\n").await;
    setup.importer.files.delete(&import.object).await.unwrap();
    let outcome = setup.attempt(&import, setup.db.claim(import.job_id).await).await.unwrap();
    assert!(matches!(outcome, Outcome::Discard(_)), "{outcome:?}");
    assert!(setup.find(import.id).await.error.unwrap().contains("no longer there"));
}

#[tokio::test]
async fn a_row_that_only_the_database_refuses_is_found() {
    let setup = Setup::new(500).await;
    setup.db.execute("alter table variants add constraint no_sevens check (price <> 7)").await;
    let file: String = std::iter::once("sku,name,price\n".to_owned())
        .chain((1..=9).map(|n| format!("S{n},Thing {n},{n}\n")))
        .collect();
    let import = setup.import(ImportKind::Products, file).await;
    assert_eq!((import.status, counts(&import)), (ImportStatus::Completed, [9, 8, 0, 0, 1]));
    assert_eq!(setup.errors(&import).await, ["8 row \"\" the database refuses it: no_sevens"]);
}
