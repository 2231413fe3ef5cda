# Login shells get their PATH from /etc/profile, which forgets what the image says.
case ":$PATH:" in
*:/home/developer/.pi/npm-global/bin:*) ;;
*) PATH=/home/developer/.pi/npm-global/bin:$PATH ;;
esac
export PATH
