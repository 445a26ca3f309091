-- Run once by the postgres image, in an empty volume, as the superuser and in Label Studio's database.
-- The service gets a database and a role of its own: it never sees Label Studio's accounts.
\getenv password QUEUE_DATABASE_PASSWORD
CREATE ROLE negatives LOGIN PASSWORD :'password';
CREATE DATABASE negatives OWNER negatives;
REVOKE CONNECT ON DATABASE label_studio, negatives FROM PUBLIC;
