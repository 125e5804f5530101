"""The lab: a local web page that trains networks, and shows what happens inside of them."""
