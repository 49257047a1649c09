drop table worker_kinds;
drop table worker_gaps;
drop function waybill_worker_gaps();
