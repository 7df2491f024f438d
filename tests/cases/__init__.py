"""The 90 hard cases of FTP through a NAT, each with a test named by its number, judged where bytes leave."""
