-- Two builds of one release may declare a schedule differently: of these the one that was started last has the word.
alter table schedules
    add column declared_by    text,               -- host and process, for people
    add column declared_start timestamptz;        -- when that process was started
