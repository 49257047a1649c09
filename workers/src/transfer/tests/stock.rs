//! Stock files.
#![allow(clippy::unwrap_used, clippy::panic)]

use waybill_schema::imports::ImportKind;

use super::{Setup, counts};

#[tokio::test]
async fn stock_goes_through_the_ledger_and_never_below_what_is_reserved() {
    let setup = Setup::new(500).await;
    setup.import(ImportKind::Products, "sku,name,price\nA,Lamp,1\nB,Cup,1\nC,Bowl,1\n").await;
    let db = &setup.db;
    let import =
        setup.import(ImportKind::Stock, "sku,on_hand,reorder_level\nA,10,3\nB,0,\nC,5,\nX,1,\n").await;
    assert_eq!(counts(&import), [4, 3, 0, 0, 1]);
    assert_eq!(setup.errors(&import).await, ["5 sku \"X\" there is no variant with this SKU"]);
    let events = "select coalesce(string_agg(topic || ':' || (payload->>'sku') || ':' || (payload->>'available'), ' ' order by seq), '')
                  from outbox where topic like 'stock.%'";
    assert_eq!(db.text(events).await, "stock.replenished:A:10 stock.replenished:C:5");

    db.execute("update stock_levels set reserved = 4 where on_hand = 10;
                insert into stock_ledger (id, variant_id, location_id, kind, on_hand_delta, reserved_delta, order_id)
                select gen_random_uuid(), variant_id, location_id, 'reservation', 0, 4, gen_random_uuid() from stock_levels where reserved = 4;
                delete from outbox").await;
    let import = setup
        .import(
            ImportKind::Stock,
            "sku,on_hand,location\nA,3,\nA,4,main\nC,0,nowhere\nC,-1,\nC,1.5,\nC,0,\nC,7,\nC,0,\n",
        )
        .await;
    assert_eq!(counts(&import), [8, 0, 4, 0, 4]);
    assert_eq!(
        setup.errors(&import).await,
        [
            "2 on_hand \"3\" 4 pieces are reserved for orders",
            "4 location \"nowhere\" there is no such location",
            "5 on_hand \"-1\" is not a whole number from 0 to 1000000000",
            "6 on_hand \"1.5\" is not a whole number from 0 to 1000000000",
        ]
    );
    assert_eq!(db.text(events).await, "stock.depleted:A:0 stock.depleted:C:0");
    assert_eq!(
        db.text("select string_agg(concat_ws(':', v.sku, on_hand, reserved, reorder_level), ' ' order by sku) from stock_levels s join variants v on v.id = s.variant_id").await,
        "A:4:4:3 B:0:0:0 C:0:0:0"
    );
    assert_eq!(
        db.text("select count(*) from stock_levels s, lateral (
                     select coalesce(sum(on_hand_delta), 0) as on_hand, coalesce(sum(reserved_delta), 0) as reserved
                     from stock_ledger l where l.variant_id = s.variant_id and l.location_id = s.location_id) l
                 where (s.on_hand, s.reserved) is distinct from (l.on_hand, l.reserved)").await,
        "0",
        "the ledger sums to the levels"
    );
    assert_eq!(
        db.text("select count(*) from stock_ledger where kind = 'purchase' and reference like 'import:%'")
            .await,
        "2"
    );
}

#[tokio::test]
async fn an_old_feed_never_overwrites_a_newer_one() {
    let setup = Setup::new(500).await;
    setup.import(ImportKind::Products, "sku,name,price\nA,Lamp,1\n").await;
    let feed = |sequence: i64, on_hand: i64| format!("sku,on_hand,sequence\nA,{on_hand},{sequence}\n");
    assert_eq!(counts(&setup.import(ImportKind::Stock, feed(7, 10)).await), [1, 1, 0, 0, 0]);
    let old = setup.import(ImportKind::Stock, feed(6, 99)).await;
    assert_eq!(counts(&old), [1, 0, 0, 0, 1]);
    assert_eq!(setup.errors(&old).await, ["2 sequence \"6\" older than 7, which is applied already"]);
    setup.db.execute("update stock_levels set on_hand = 8").await;
    assert_eq!(counts(&setup.import(ImportKind::Stock, feed(7, 10)).await), [1, 0, 0, 1, 0], "sent twice");
    assert_eq!(setup.db.text("select on_hand from stock_levels").await, "8");
    assert_eq!(counts(&setup.import(ImportKind::Stock, feed(8, 12)).await), [1, 0, 1, 0, 0]);
    assert_eq!(setup.db.text("select on_hand || '@' || feed_seq from stock_levels").await, "12@8");
}
