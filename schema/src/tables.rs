//! Every table as diesel sees it. A test compares this file with a migrated database.

diesel::table! {
    api_keys (id) {
        id -> Uuid,
        name -> Text,
        prefix -> Text,
        hash -> Bytea,
        scopes -> Array<Text>,
        created_by -> Uuid,
        created_at -> Timestamptz,
        last_used_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    cart_lines (cart_id, variant_id) {
        cart_id -> Uuid,
        variant_id -> Uuid,
        quantity -> Integer,
        added_at -> Timestamptz,
    }
}

diesel::table! {
    carts (id) {
        id -> Uuid,
        customer_id -> Nullable<Uuid>,
        token_hash -> Nullable<Bytea>,
        currency -> Bpchar,
        status -> Text,
        version -> BigInt,
        expires_at -> Timestamptz,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    categories (id) {
        id -> Uuid,
        parent_id -> Nullable<Uuid>,
        slug -> Text,
        name -> Text,
        position -> Integer,
        image_url -> Nullable<Text>,
        active -> Bool,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    dead_letters (id) {
        id -> Uuid,
        kind -> Text,
        version -> SmallInt,
        queue -> Text,
        priority -> SmallInt,
        attempt -> SmallInt,
        max_attempts -> SmallInt,
        snoozes -> Integer,
        claim -> BigInt,
        worker_id -> Nullable<Uuid>,
        claimed_at -> Nullable<Timestamptz>,
        run_at -> Timestamptz,
        partition_key -> Nullable<Text>,
        correlation_id -> Nullable<Uuid>,
        causation_id -> Nullable<Uuid>,
        owner_id -> Nullable<Uuid>,
        traceparent -> Nullable<Text>,
        payload -> Jsonb,
        progress -> Nullable<Jsonb>,
        failures -> Jsonb,
        created_at -> Timestamptz,
        died_at -> Timestamptz,
        reason -> Text,
        limit_key -> Nullable<Text>,
        flow_id -> Nullable<Uuid>,
        step -> Nullable<Text>,
        subject_id -> Nullable<Uuid>,
        compensates -> Bool,
        cancel -> Nullable<Jsonb>,
        undo -> Bool,
        scheduled -> Nullable<Jsonb>,
        erased_at -> Nullable<Timestamptz>,
        unique_key -> Nullable<Text>,
        unique_scope -> Nullable<Text>,
    }
}

diesel::table! {
    dependencies (name) {
        name -> Text,
        down_since -> Nullable<Timestamptz>,
        down_until -> Nullable<Timestamptz>,
        reason -> Nullable<Text>,
        probe_id -> Nullable<Uuid>,
        updated_at -> Timestamptz,
        answered_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    effects (key) {
        key -> Text,
        kind -> Text,
        provider -> Text,
        correlation_id -> Nullable<Uuid>,
        state -> Text,
        request -> Jsonb,
        response -> Nullable<Jsonb>,
        calls -> Jsonb,
        started_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    event_log (id) {
        seq -> BigInt,
        id -> Uuid,
        topic -> Text,
        version -> SmallInt,
        aggregate -> Text,
        aggregate_id -> Uuid,
        shard -> SmallInt,
        correlation_id -> Nullable<Uuid>,
        causation_id -> Nullable<Uuid>,
        traceparent -> Nullable<Text>,
        payload -> Jsonb,
        created_at -> Timestamptz,
        published_at -> Timestamptz,
        lane -> Text,
        pipelines -> Array<Text>,
    }
}

diesel::table! {
    gateway_events (gateway, event_id) {
        gateway -> Text,
        event_id -> Text,
        kind -> Text,
        payload -> Jsonb,
        correlation_id -> Nullable<Uuid>,
        received_at -> Timestamptz,
        handled_at -> Nullable<Timestamptz>,
        outcome -> Nullable<Text>,
    }
}

diesel::table! {
    idempotency_keys (scope, key) {
        scope -> Text,
        key -> Text,
        fingerprint -> Bytea,
        status -> SmallInt,
        location -> Nullable<Text>,
        body -> Nullable<Jsonb>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    flow_steps (flow_id, name) {
        flow_id -> Uuid,
        name -> Text,
        place -> Integer,
        needs -> Array<Text>,
        job -> Jsonb,
        undo -> Nullable<Jsonb>,
        job_id -> Nullable<Uuid>,
        undo_job_id -> Nullable<Uuid>,
        state -> Text,
        result -> Nullable<Jsonb>,
    }
}

diesel::table! {
    flows (id) {
        id -> Uuid,
        kind -> Text,
        name -> Text,
        state -> Text,
        sealed -> Bool,
        on_dead_step -> Text,
        when_over -> Nullable<Jsonb>,
        when_dead -> Nullable<Jsonb>,
        dead_told_at -> Nullable<Timestamptz>,
        correlation_id -> Nullable<Uuid>,
        owner_id -> Nullable<Uuid>,
        subject_id -> Nullable<Uuid>,
        cancel -> Nullable<Jsonb>,
        report -> Nullable<Jsonb>,
        created_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
        for_job -> Nullable<Uuid>,
    }
}

diesel::table! {
    import_errors (import_id, row_number, field) {
        import_id -> Uuid,
        row_number -> BigInt,
        field -> Text,
        value -> Text,
        reason -> Text,
    }
}

diesel::table! {
    import_parts (import_id, part) {
        import_id -> Uuid,
        part -> Integer,
        prefix -> Text,
        sizes -> Array<BigInt>,
        place -> BigInt,
        bytes_done -> BigInt,
        rows_done -> BigInt,
        rows_created -> BigInt,
        rows_updated -> BigInt,
        rows_unchanged -> BigInt,
        rows_failed -> BigInt,
    }
}

diesel::table! {
    imports (id) {
        id -> Uuid,
        kind -> Text,
        status -> Text,
        filename -> Text,
        object -> Text,
        size_bytes -> BigInt,
        created_by -> Nullable<Uuid>,
        job_id -> Uuid,
        rows_done -> BigInt,
        byte_offset -> BigInt,
        rows_created -> BigInt,
        rows_updated -> BigInt,
        rows_unchanged -> BigInt,
        rows_failed -> BigInt,
        error -> Nullable<Text>,
        created_at -> Timestamptz,
        started_at -> Nullable<Timestamptz>,
        finished_at -> Nullable<Timestamptz>,
        flow_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    inbox (pipeline, event_id, event_at) {
        pipeline -> Text,
        event_id -> Uuid,
        event_at -> Timestamptz,
        lane -> Text,
        handled_at -> Timestamptz,
    }
}

diesel::table! {
    job_history (id) {
        id -> Uuid,
        kind -> Text,
        version -> SmallInt,
        queue -> Text,
        priority -> SmallInt,
        state -> Text,
        attempt -> SmallInt,
        max_attempts -> SmallInt,
        snoozes -> Integer,
        claim -> BigInt,
        worker_id -> Nullable<Uuid>,
        claimed_at -> Nullable<Timestamptz>,
        run_at -> Timestamptz,
        partition_key -> Nullable<Text>,
        correlation_id -> Nullable<Uuid>,
        causation_id -> Nullable<Uuid>,
        owner_id -> Nullable<Uuid>,
        traceparent -> Nullable<Text>,
        payload -> Jsonb,
        progress -> Nullable<Jsonb>,
        failures -> Jsonb,
        created_at -> Timestamptz,
        finished_at -> Timestamptz,
        result -> Nullable<Jsonb>,
        reason -> Nullable<Text>,
        limit_key -> Nullable<Text>,
        flow_id -> Nullable<Uuid>,
        step -> Nullable<Text>,
        subject_id -> Nullable<Uuid>,
        compensates -> Bool,
        cancel -> Nullable<Jsonb>,
        undo -> Bool,
        scheduled -> Nullable<Jsonb>,
        erased_at -> Nullable<Timestamptz>,
        unique_key -> Nullable<Text>,
        unique_scope -> Nullable<Text>,
    }
}

diesel::table! {
    job_logs (job_id, seq) {
        job_id -> Uuid,
        at -> Timestamptz,
        seq -> BigInt,
        attempt -> SmallInt,
        level -> Text,
        line -> Text,
    }
}

diesel::table! {
    job_uniques (key) {
        key -> Text,
        job_id -> Uuid,
        scope -> Text,
        until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    jobs (id) {
        id -> Uuid,
        kind -> Text,
        version -> SmallInt,
        queue -> Text,
        priority -> SmallInt,
        state -> Text,
        run_at -> Timestamptz,
        attempt -> SmallInt,
        max_attempts -> SmallInt,
        snoozes -> Integer,
        claim -> BigInt,
        worker_id -> Nullable<Uuid>,
        claimed_at -> Nullable<Timestamptz>,
        partition_key -> Nullable<Text>,
        correlation_id -> Nullable<Uuid>,
        causation_id -> Nullable<Uuid>,
        owner_id -> Nullable<Uuid>,
        traceparent -> Nullable<Text>,
        payload -> Jsonb,
        progress -> Nullable<Jsonb>,
        failures -> Jsonb,
        created_at -> Timestamptz,
        limit_key -> Nullable<Text>,
        flow_id -> Nullable<Uuid>,
        step -> Nullable<Text>,
        subject_id -> Nullable<Uuid>,
        compensates -> Bool,
        hold -> Nullable<Text>,
        unique_key -> Nullable<Text>,
        cancel -> Nullable<Jsonb>,
        undo -> Bool,
        claim_batch -> Nullable<BigInt>,
        due -> Bool,
        running_key -> Nullable<Text>,
        running_limit_key -> Nullable<Text>,
        scheduled -> Nullable<Jsonb>,
        losses -> SmallInt,
    }
}

diesel::table! {
    kind_controls (kind) {
        kind -> Text,
        paused_at -> Nullable<Timestamptz>,
        paused_by -> Nullable<Text>,
        pause_reason -> Nullable<Text>,
        updated_at -> Timestamptz,
        updated_by -> Text,
    }
}

diesel::table! {
    kind_needs (dependency, kind) {
        kind -> Text,
        dependency -> Text,
    }
}

diesel::table! {
    limit_key_buckets (queue, limit_key) {
        queue -> Text,
        limit_key -> Text,
        tokens -> Double,
        filled_at -> Timestamptz,
    }
}

diesel::table! {
    locations (id) {
        id -> Uuid,
        code -> Text,
        name -> Text,
        priority -> Integer,
        active -> Bool,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    mails (id) {
        id -> Uuid,
        dedupe_key -> Text,
        template -> Text,
        recipient -> Text,
        subject -> Nullable<Text>,
        correlation_id -> Nullable<Uuid>,
        status -> Text,
        message_id -> Nullable<Text>,
        error -> Nullable<Text>,
        context -> Jsonb,
        created_at -> Timestamptz,
        sent_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    operator_actions (id) {
        id -> Uuid,
        at -> Timestamptz,
        actor -> Text,
        action -> Text,
        target -> Text,
        detail -> Jsonb,
    }
}

diesel::table! {
    order_history (order_id, version) {
        order_id -> Uuid,
        version -> BigInt,
        at -> Timestamptz,
        status -> Text,
        step -> Text,
        reason_code -> Nullable<Text>,
        reason -> Nullable<Text>,
        job_id -> Nullable<Uuid>,
        attempt -> Nullable<SmallInt>,
        actor -> Text,
    }
}

diesel::table! {
    order_lines (order_id, position) {
        order_id -> Uuid,
        position -> Integer,
        variant_id -> Uuid,
        product_id -> Uuid,
        sku -> Text,
        name -> Text,
        variant_title -> Text,
        quantity -> Integer,
        unit_price -> Numeric,
        agreed -> Bool,
        total -> Numeric,
    }
}

diesel::table! {
    orders (id) {
        id -> Uuid,
        number -> BigInt,
        customer_id -> Nullable<Uuid>,
        guest_token_hash -> Nullable<Bytea>,
        email -> Text,
        cart_id -> Nullable<Uuid>,
        reference -> Nullable<Text>,
        status -> Text,
        step -> Text,
        reason_code -> Nullable<Text>,
        reason -> Nullable<Text>,
        currency -> Bpchar,
        subtotal -> Numeric,
        total -> Numeric,
        shipping_address -> Jsonb,
        billing_address -> Jsonb,
        reserved_until -> Nullable<Timestamptz>,
        version -> BigInt,
        placed_at -> Timestamptz,
        updated_at -> Timestamptz,
        confirmed_at -> Nullable<Timestamptz>,
        cancelled_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    outbox (seq) {
        seq -> BigInt,
        id -> Uuid,
        topic -> Text,
        version -> SmallInt,
        aggregate -> Text,
        aggregate_id -> Uuid,
        shard -> SmallInt,
        correlation_id -> Nullable<Uuid>,
        causation_id -> Nullable<Uuid>,
        traceparent -> Nullable<Text>,
        payload -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    payments (id) {
        id -> Uuid,
        order_id -> Uuid,
        gateway -> Text,
        method_token -> Text,
        amount -> Numeric,
        currency -> Bpchar,
        status -> Text,
        authorization_ref -> Nullable<Text>,
        capture_ref -> Nullable<Text>,
        captured -> Numeric,
        refunded -> Numeric,
        decline_code -> Nullable<Text>,
        failure -> Nullable<Text>,
        version -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    product_categories (product_id, category_id) {
        product_id -> Uuid,
        category_id -> Uuid,
    }
}

diesel::table! {
    product_options (product_id, name) {
        product_id -> Uuid,
        name -> Text,
        position -> Integer,
    }
}

diesel::table! {
    product_search (product_id) {
        product_id -> Uuid,
        version -> BigInt,
        stock_version -> BigInt,
        name -> Text,
        brand -> Nullable<Text>,
        status -> Text,
        category_ids -> Array<Uuid>,
        price_min -> Nullable<Numeric>,
        price_max -> Nullable<Numeric>,
        in_stock -> Bool,
        words -> Text,
        created_at -> Timestamptz,
        indexed_at -> Timestamptz,
    }
}

diesel::table! {
    products (id) {
        id -> Uuid,
        slug -> Text,
        name -> Text,
        description -> Text,
        brand -> Nullable<Text>,
        status -> Text,
        featured -> Bool,
        attributes -> Jsonb,
        tax_class -> Text,
        weight_grams -> Nullable<Integer>,
        length_mm -> Nullable<Integer>,
        width_mm -> Nullable<Integer>,
        height_mm -> Nullable<Integer>,
        price_min -> Nullable<Numeric>,
        price_max -> Nullable<Numeric>,
        version -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    queue_controls (queue) {
        queue -> Text,
        paused_at -> Nullable<Timestamptz>,
        paused_by -> Nullable<Text>,
        pause_reason -> Nullable<Text>,
        max_running -> Nullable<Integer>,
        max_per_key -> Nullable<Integer>,
        rate -> Nullable<Integer>,
        rate_period -> Nullable<Double>,
        rate_burst -> Nullable<Integer>,
        key_rate -> Nullable<Integer>,
        key_rate_period -> Nullable<Double>,
        key_rate_burst -> Nullable<Integer>,
        tokens -> Nullable<Double>,
        filled_at -> Nullable<Timestamptz>,
        limits_origin -> Text,
        updated_at -> Timestamptz,
        updated_by -> Text,
        key_limited -> Bool,
        limited -> Bool,
    }
}

diesel::table! {
    queue_places (queue, worker_id) {
        queue -> Text,
        worker_id -> Uuid,
        places -> Integer,
        updated_at -> Timestamptz,
        updated_by -> Text,
    }
}

diesel::table! {
    refresh_tokens (hash) {
        hash -> Bytea,
        session_id -> Uuid,
        issued_at -> Timestamptz,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    schedule_fires (schedule, fire_at) {
        schedule -> Text,
        fire_at -> Timestamptz,
        job_id -> Nullable<Uuid>,
        fired_at -> Timestamptz,
        manual -> Bool,
        existing -> Bool,
    }
}

diesel::table! {
    schedules (name) {
        name -> Text,
        origin -> Text,
        spec -> Text,
        time_zone -> Text,
        missed -> Text,
        missed_limit -> Integer,
        overlap -> Text,
        paused -> Bool,
        kind -> Text,
        version -> SmallInt,
        queue -> Text,
        max_attempts -> SmallInt,
        payload -> Jsonb,
        next_at -> Nullable<Timestamptz>,
        last_at -> Nullable<Timestamptz>,
        last_job_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        problem -> Nullable<Text>,
        declared_at -> Nullable<Timestamptz>,
        release -> Nullable<BigInt>,
        declared_by -> Nullable<Text>,
        declared_start -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        user_id -> Uuid,
        ip -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
        expires_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        revoked_reason -> Nullable<Text>,
    }
}

diesel::table! {
    stock_ledger (id) {
        id -> Uuid,
        variant_id -> Uuid,
        location_id -> Uuid,
        kind -> Text,
        on_hand_delta -> Integer,
        reserved_delta -> Integer,
        order_id -> Nullable<Uuid>,
        reference -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    stock_levels (variant_id, location_id) {
        variant_id -> Uuid,
        location_id -> Uuid,
        on_hand -> Integer,
        reserved -> Integer,
        reorder_level -> Integer,
        backorder -> Bool,
        feed_seq -> BigInt,
        version -> BigInt,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    user_tokens (hash) {
        hash -> Bytea,
        user_id -> Uuid,
        purpose -> Text,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        email -> Text,
        password_hash -> Text,
        first_name -> Text,
        last_name -> Text,
        phone -> Nullable<Text>,
        role -> Text,
        status -> Text,
        email_verified_at -> Nullable<Timestamptz>,
        failed_logins -> Integer,
        locked_until -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    variants (id) {
        id -> Uuid,
        product_id -> Uuid,
        sku -> Text,
        title -> Text,
        price -> Numeric,
        currency -> Bpchar,
        compare_at_price -> Nullable<Numeric>,
        option_values -> Jsonb,
        position -> Integer,
        active -> Bool,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    webhook_attempts (delivery_id, attempt) {
        delivery_id -> Uuid,
        attempt -> Integer,
        at -> Timestamptz,
        status -> Nullable<SmallInt>,
        duration_ms -> Integer,
        body -> Nullable<Text>,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    webhook_deliveries (id) {
        id -> Uuid,
        endpoint_id -> Uuid,
        event_id -> Uuid,
        topic -> Text,
        correlation_id -> Nullable<Uuid>,
        body -> Text,
        status -> Text,
        attempts -> Integer,
        created_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    webhook_endpoints (id) {
        id -> Uuid,
        url -> Text,
        description -> Text,
        event_types -> Array<Text>,
        secret -> Bytea,
        active -> Bool,
        created_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        failing_since -> Nullable<Timestamptz>,
        failed_at -> Nullable<Timestamptz>,
        disabled_at -> Nullable<Timestamptz>,
        disabled_reason -> Nullable<Text>,
    }
}

diesel::table! {
    workers (id) {
        id -> Uuid,
        service -> Text,
        host -> Text,
        pid -> Integer,
        version -> Text,
        queues -> Array<Text>,
        state -> Text,
        lock_key -> BigInt,
        unlocked_at -> Nullable<Timestamptz>,
        event_lane -> Nullable<Text>,
        event_lane_reason -> Nullable<Text>,
        started_at -> Timestamptz,
        heartbeat_at -> Timestamptz,
        lease_until -> Timestamptz,
        quiet_at -> Nullable<Timestamptz>,
        quiet_by -> Nullable<Text>,
        places -> Jsonb,
        overdue -> Integer,
    }
}

diesel::joinable!(api_keys -> users (created_by));
diesel::joinable!(cart_lines -> carts (cart_id));
diesel::joinable!(cart_lines -> variants (variant_id));
diesel::joinable!(carts -> users (customer_id));
diesel::joinable!(flow_steps -> flows (flow_id));
diesel::joinable!(import_errors -> imports (import_id));
diesel::joinable!(import_parts -> imports (import_id));
diesel::joinable!(imports -> users (created_by));
diesel::joinable!(order_history -> orders (order_id));
diesel::joinable!(order_lines -> orders (order_id));
diesel::joinable!(orders -> carts (cart_id));
diesel::joinable!(orders -> users (customer_id));
diesel::joinable!(payments -> orders (order_id));
diesel::joinable!(product_categories -> categories (category_id));
diesel::joinable!(product_categories -> products (product_id));
diesel::joinable!(product_options -> products (product_id));
diesel::joinable!(product_search -> products (product_id));
diesel::joinable!(refresh_tokens -> sessions (session_id));
diesel::joinable!(schedule_fires -> schedules (schedule));
diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(stock_levels -> locations (location_id));
diesel::joinable!(stock_levels -> variants (variant_id));
diesel::joinable!(user_tokens -> users (user_id));
diesel::joinable!(variants -> products (product_id));
diesel::joinable!(webhook_attempts -> webhook_deliveries (delivery_id));
diesel::joinable!(webhook_deliveries -> webhook_endpoints (endpoint_id));
diesel::joinable!(webhook_endpoints -> users (created_by));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    cart_lines,
    carts,
    categories,
    dead_letters,
    dependencies,
    effects,
    event_log,
    gateway_events,
    idempotency_keys,
    flow_steps,
    flows,
    import_errors,
    import_parts,
    imports,
    inbox,
    job_history,
    job_logs,
    job_uniques,
    jobs,
    kind_controls,
    kind_needs,
    limit_key_buckets,
    locations,
    mails,
    operator_actions,
    order_history,
    order_lines,
    orders,
    outbox,
    payments,
    product_categories,
    product_options,
    product_search,
    products,
    queue_controls,
    queue_places,
    refresh_tokens,
    schedule_fires,
    schedules,
    sessions,
    stock_ledger,
    stock_levels,
    user_tokens,
    users,
    variants,
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
    workers,
);
