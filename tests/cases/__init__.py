"""The 90 hard cases of FTP through a NAT, each with a test named after its number, judged where bytes leave."""
