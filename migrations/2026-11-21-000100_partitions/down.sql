drop function waybill_drop_partitions(text, integer);
drop function waybill_ensure_partitions(integer);
