.d/.e
